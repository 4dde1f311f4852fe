-- How wall time stood to the uptime of the machine when a broker opened this storage: it tells whether the clock was set.
ALTER TABLE epochs ADD COLUMN boot TEXT; -- which start of the machine; NULL: not known
ALTER TABLE epochs ADD COLUMN offset_s REAL; -- wall time minus uptime
