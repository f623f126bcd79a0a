"""Stage 4: conversion, rounding, only new readings."""

from etl.stages.transform.stage import transform

__all__ = ["transform"]
