"""The checkpoint's tokenizer as tokenizer.json."""
