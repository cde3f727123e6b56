"""What is checked before a run starts: settings, images, captions, names and prompts."""
