"""Jobs over images: predict, evaluate, embed."""
