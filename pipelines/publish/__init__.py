"""Publishing: datasets on the Hugging Face hub."""
