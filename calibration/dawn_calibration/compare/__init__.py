"""Two artifacts of one model beside each other, decision by decision."""
