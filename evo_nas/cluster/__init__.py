"""Launching on a cluster: is its file sound, and how a search gets there as a job.

- `check`: reads a file (`documents`) and finds out which kind it is; the problems come from
  `launcher` (files of `ray up`; `installs` and `starts` read their commands, `commands` the shell),
  `kuberay` (manifests; `kuberay_job` their job, `quantities` their numbers) and `room` (does any
  machine hold what ``[workers]`` asks for). `parts`: of a file that may hold anything.
- `token`: the cluster's token on this machine.
- `package`: what travels with a job; `submit`: sends it; `tunnel`: the way to the head; `runs`:
  where its run may lie.
- `job`: what runs there.
"""
