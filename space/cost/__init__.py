"""What one network costs: parameters and multiply-adds from its spec alone."""

from spinesearch.space.cost.cost import Cost, backbone_cost, classifier_cost, detector_cost

__all__ = ["Cost", "backbone_cost", "classifier_cost", "detector_cost"]
