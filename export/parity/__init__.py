"""Exported graphs against their torch originals."""
