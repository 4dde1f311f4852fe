"""The things that the core knows: values, which never change, and entities, which hold one another."""
