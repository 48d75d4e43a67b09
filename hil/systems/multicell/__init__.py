"""Multi-cell integrated sensing and communication: coordinated beamforming and multipoint, block- and symbol-level precoding."""
