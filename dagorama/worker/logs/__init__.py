"""The output of nodes on its way to the broker: all that they print and log.

`lines`, `bounds`, `blocks` and `packer` decide which lines are kept and how they are packed; they have no clock, no
threads and no lock. The other modules are their shell: `capturing` puts the rest together.
"""
