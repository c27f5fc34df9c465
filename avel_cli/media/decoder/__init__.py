"""What runs in the decoder's process: PyAV (FFmpeg in its wheel) reads a stranger's file, and may crash or hang there.

Sound and pictures keep together because each pass over a file looks at the packets of all its streams and puts their
times right by the same rules (`clock`), whichever stream it decodes.
"""
