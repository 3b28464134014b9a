"""What a model consists of and costs: its steps, its measures, its picture."""
