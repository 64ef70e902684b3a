"""The commands, one module each: `add_arguments(parser)` and `call(args) -> exit code`.

A module's name is its command's, with `-` written `_`; the first line of its docstring is the command's help.
"""
