"""Where other libraries plug in: a module for each, over one `Session`; its library is imported where it is used."""
