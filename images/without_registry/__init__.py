"""What this project makes for itself on a machine that reaches no container registry and no release downloads.

Everything here comes from package registries: Debian packages, and Go modules with pinned versions and checksums.

- `debian.py`: the base image, where Debian's own image cannot be pulled
- `node_image.py`, `node/`: the node image of the kind cluster, where `kindest/node` cannot be pulled
- `programs.py`, `golang.py`, `go/`: helm, kubectl and kind where the PATH has none that fits; the node image's programs
- `dockerd.py`, `runc-bounded`: a Docker daemon for such a machine when it also has no service manager

The modules of `images/` decide when each is needed. Where a registry answers, Docker runs and the tools are installed,
nothing here is used. See docs/air-gapped.md.
"""
