"""Workflows: DAGs that stand in files, or come from scripts of other systems, and run as instances of a definition.

Each front end reads its files into a `Workflow` (`model`), and `running` makes a node of each of its tasks.
"""
