"""Frames in: files, folders, cameras and streams."""
