"""The emulated bench: a second, independent implementation of the physics at waveform level.

`world.build` makes a world of plain values; `world.radio(name)` and `world.stage(name)` are what a controller holds. Inside:

    history      what was commanded, with its instants
    oscillator   one fractional frequency error per device, for carrier and sampling clock
    motion       carriages and the target as closed forms of time
    scene        antennas, scatterers and target at any instant; `paths` turns them into delays and gains
    medium       still paths as `tables`, moving ones as bundles of rays (`bundle`) over a `window`; `kernels` and `sweep` are compiled
    wiring       cables between ports, and the leakage of a radio into itself
    oracle       the same, slowly and exactly: the definition of truth
    converter    codes, gains, noise figure; `noise` is the receiver's noise as a function of the sample index
    transmit     from codes to the antenna port, through an `amplifier`; `receive` from the port to codes
    phasenoise   of a synthesiser, as a function of key and time
    radio, stage the devices of `hil.device` on top; `settings` is the table [emulated]
    truth        what no device tells, for tests and for the sounder
    sounder      the emulator measured by itself
    iiod         radios on the network, as clients of real ones expect them

Of the controller it knows `hil.device`, `hil.clock` and `hil.units` only.
"""
