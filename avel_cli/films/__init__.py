"""Films written with FFmpeg: previews, clips, films with their events drawn in. No torch here.

`avel_cli.media` looks at a file before FFmpeg does, and its container is named to FFmpeg, which then takes it for
nothing else: no list of other files, and no address.
"""
