"""Radios of Analog Devices through pyadi-iio: Pluto, AD9361 boards, FMComms5, AD9081, on USB, on the network or emulated, one code path.

`opening.radio` opens one; `array.RadioArray` makes several single-channel radios into one. Nothing here imports libiio before it is needed.
"""
