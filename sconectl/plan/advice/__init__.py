"""Security advice about valid manifests (codes SC4xxx)."""
