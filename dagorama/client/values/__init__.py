"""The large values of a broker's payloads, as this process stores and has them."""
