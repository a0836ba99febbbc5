"""Thin views: validated input, one call, output."""
