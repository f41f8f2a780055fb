"""The record of a profile: its schema, its reader and its writer."""
