"""Runs a bundle on video: frames and sentences in, one mask per frame and sentence out. Never imports torch."""
