"""What happens, told and counted."""
