"""The formats that are accepted: what a file says of itself before a pixel is decoded, and the bytes that make pixels.

One module for each format. The decoders of Pillow get only what is understood here.
"""
