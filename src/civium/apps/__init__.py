"""Entry points: the command line, the server's processes, the sandbox and its demo."""
