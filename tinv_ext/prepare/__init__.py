"""Images made ready for training in a folder of their own, and their captions; everything done here can be undone."""
