module gometa-client-driver

go 1.19

require gometa v0.0.0

replace gometa => ../../../go
