"""An instance as people have it: its attributes, the verbs, and the values that its promises stand for."""
