"""accelbench: which machine, which batch size, which endpoint, why, and how sure are we?"""
