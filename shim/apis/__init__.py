"""The APIs clients speak, a folder each. No API imports another, and nothing below imports one."""
