"""The devices and their processes: who gets what, and what happens when one dies."""
