"""Baselines that are fair to methods with a model of their own on each device.

FedPer, a shared encoder under private predictors, is `privatehead`.
"""
