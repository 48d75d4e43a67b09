"""What each command does; `hil.cli` parses and calls. Nothing heavy is imported before a command needs it."""
