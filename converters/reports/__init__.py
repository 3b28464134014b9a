"""What people read and look at: tables, pages and pictures."""
