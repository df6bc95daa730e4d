"""The stages of the workflow: what each reads, calls and leaves behind, a module each.

A rule's script calls one function here. Heavy libraries are imported inside the functions, so that
a stage pays only for what it uses.
"""
