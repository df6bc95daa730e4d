"""Iliopsoas muscle volumes from UK Biobank neck-to-knee Dixon MRI.

Implements Fitzpatrick, Basty et al., "Large-scale analysis of iliopsoas muscle
volumes in the UK Biobank", Scientific Reports 10:20215 (2020).
"""

__version__ = "0.1.0"
