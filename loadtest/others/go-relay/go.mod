module tidegate/go-relay

go 1.21
