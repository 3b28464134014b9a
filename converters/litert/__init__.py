"""LiteRT models (``.tflite``) as sources and as references."""
