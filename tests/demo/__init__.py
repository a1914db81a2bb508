"""The demonstration behind `make demo`: a reviewed pod gets its bucket, on this machine.

`stage` prints and times the steps, `review` plays the API server, `kubelet` runs the sidecars of a
pod, `scenes` are what is shown. A new scene is a function in `scenes` and a line in `__main__`.
"""
