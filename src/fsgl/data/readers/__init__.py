"""From a path or a name to paths and labels: CIFAR, digits, folders, tables, lists, .npz."""
