"""Text encoders and their pre-training recipes."""
