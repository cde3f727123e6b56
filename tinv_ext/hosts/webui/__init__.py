"""What AUTOMATIC1111's WebUI and its siblings share; imports only what all of them have."""
