"""The model as files: the checkpoint that both backends serve and the artifact that the export makes of it.

Read in the backends' replicas when they load, and by the export; needs no engine and no Ray.
"""
