(ns ^:no-doc org.httpkit.server.partners
  "Options of `run-server` that mean something only beside others. Not API.

  Giving one without its partner is a mistake. Giving it beside a partner that is
  switched off (nil or false) is none: a configuration may keep the options of what it
  switches off."
  (:require [org.httpkit.options :as options]
            [org.httpkit.server.tls :as tls]))

(set! *warn-on-reflection* true)

(def ^:private needs
  "Option -> partners, one of which must be given; the first of them is named."
  (let [tls [:ssl-port :ssl?]]
    {:shutdown-timeout       [:stop-on-shutdown?]
     :body-window            [:request-buffer-size]
     :interrupt-handlers?    [:handler-timeout]
     :unix-socket-mode       [:unix-socket :address-finder]
     :unix-socket-replace?   [:unix-socket :address-finder]
     :keystore               tls
     :tls                    tls
     :truststore             tls
     :client-auth            tls
     :ssl-protocols          tls
     :ssl-redirect?          tls
     :keystore-scan-interval tls
     :keystore-type          [:keystore]
     :key-password           [:keystore]
     :key-manager-password   [:keystore]
     :truststore-type        [:truststore]
     :trust-password         [:truststore]}))

(def ^:private of-tls-port
  "Those that may be judged only once it is known that there is one."
  {:truststore [:client-auth]})

(defn- off?
  "Whether value `v` of option `k` says no more than that it is not wanted."
  [k v]
  (or (not v)
      (= :none v)
      (and (#{:keystore-scan-interval :max-connections-per-ip} k) (zero? (long v)))))

(defn- given? [opts k]
  (not (off? k (get opts k))))

(defn- refuse! [k & why]
  (apply options/refuse! k " has no effect" why))

(defn- check-each! [needs opts]
  (doseq [[k partners] (sort needs)
          :when (and (given? opts k) (not-any? #(contains? opts %) partners))]
    (refuse! k " without " (first partners)
      (when (and (= k :key-password) (:tls opts))
        "; the one of a key in :tls belongs in its map"))))

(defn- check-tls! [opts]
  (when (tls/wanted? opts)
    (check-each! of-tls-port opts)
    (doseq [k     [:ca :crl]
            :when (and (some k (tls/identities opts)) (not (contains? opts :client-auth)))]
      (options/refuse! k " in :tls has no effect without :client-auth"))
    (when (given? opts :client-auth)
      (doseq [k     [:ca :crl]
              :when (< 1 (count (set (map str (keep k (tls/identities opts))))))]
        (options/refuse! "maps in :tls with different " k ": clients' certificates are checked alike for all names;"
          " give the same " k " in each map, or in one")))))

(defn- announced-peers? [{:keys [proxy-protocol]}]
  (contains? #{:enable :optional} proxy-protocol))

(defn check!
  "Throws IllegalArgumentException for an option without its partner, and names both.
  Each value alone is allowed."
  [opts]
  (check-each! needs opts)
  (check-tls! opts)
  (when (and (:unix-socket opts) (not (tls/wanted? opts)) (given? opts :max-connections-per-ip) (not (announced-peers? opts)))
    (refuse! :max-connections-per-ip
      " with :unix-socket, whose peers have no address, unless :proxy-protocol says it")))

(defn check-channel!
  "As `check!`, for the options of `as-channel`."
  [{:keys [ping-timeout] :as opts}]
  (when (and ping-timeout (not (contains? opts :ping-interval)))
    (refuse! :ping-timeout " without :ping-interval")))

(defn check-found!
  "As `check!`, once the `:address-finder` has returned `address`."
  [opts address]
  (if (= "java.net.UnixDomainSocketAddress" (some-> address class .getName)) ; Java 16
    (when-not (tls/wanted? opts)
      (doseq [k (cond-> [:reuse-port?] (not (announced-peers? opts)) (conj :max-connections-per-ip))
              :when (given? opts k)]
        (refuse! k ": :address-finder returned a Unix domain socket")))
    (doseq [k     [:unix-socket-mode :unix-socket-replace?]
            :when (given? opts k)]
      (refuse! k ": :address-finder returned no Unix domain socket"))))
