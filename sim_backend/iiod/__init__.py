"""Emulated radios on the network: the text protocol of IIO, spoken so that clients of real radios notice no difference.

`daemon.Daemon` serves the radios of a site. From the wire inwards:

    protocol     lines and answers; `connection` one client, `daemon` all of them
    context      devices, channels, attributes and their XML; `values` what they hold, in the driver's own text
    boards       Pluto, AD9361, FMComms5, AD9081 as contexts; `mxfe` is an AD9081
    chip         a transceiver as its driver works it, `phy` its attributes, `converters` its streaming devices
    rates        clock chain and FIR of a chip; `synthesiser` what a frequency becomes; `registers`, `dds`
    frontend     the hardware behind a context: settings that act, buffers that open and close
    inlet        a ring of received blocks that fill, wait and grow stale; `ahead` the next of them; `outlet` the way out
    listening    what the receiver digitised for any window of its ticks; `sending` what goes on the air, cyclic or streaming
    pace         on the machine's clock, or as fast as clients ask; `serve` all of it in a process of its own
"""
