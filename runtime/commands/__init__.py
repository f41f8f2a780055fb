"""One module a subcommand of `glus-edge`: `configure(parser)` and `run(arguments) -> exit code`."""
