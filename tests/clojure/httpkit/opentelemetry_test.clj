(ns httpkit.opentelemetry-test
  "`org.httpkit.stats/opentelemetry-bind!`, with OpenTelemetry's own collection of metrics."
  (:require [clojure.test       :refer [deftest is]]
            [httpkit.wire       :as wire]
            [org.httpkit.client :as client]
            [org.httpkit.stats  :as stats])
  (:import (io.opentelemetry.api OpenTelemetry)
           (io.opentelemetry.api.common AttributeKey Attributes)
           (io.opentelemetry.sdk.common CompletableResultCode)
           (io.opentelemetry.sdk.metrics SdkMeterProvider)
           (io.opentelemetry.sdk.metrics.data AggregationTemporality DoublePointData MetricData)
           (io.opentelemetry.sdk.metrics.export CollectionRegistration MetricReader)))

(set! *warn-on-reflection* true)

(defn- attributes [^Attributes attributes]
  (into {} (map (fn [entry] [(.getKey ^AttributeKey (key entry)) (val entry)])) (.asMap attributes)))

(defn- collected
  "{name {attributes number}} of what a registration collects."
  [^CollectionRegistration registration]
  (into {}
        (for [^MetricData metric (.collectAllMetrics registration)]
          [(.getName metric)
           (into {} (map (fn [^DoublePointData point] [(attributes (.getAttributes point)) (.getValue point)]))
                 (.getPoints (.getData metric)))])))

(defn- with-meters
  "Calls `f` with a meter provider, and a function that collects from it."
  [f]
  (let [registration (promise)
        reader       (reify MetricReader
                       (register [_ given] (deliver registration given))
                       (getAggregationTemporality [_ _] AggregationTemporality/CUMULATIVE)
                       (forceFlush [_] (CompletableResultCode/ofSuccess))
                       (shutdown [_] (CompletableResultCode/ofSuccess)))]
    (with-open [provider (.build (.registerMetricReader (SdkMeterProvider/builder) reader))]
      (f provider #(collected @registration)))))

(defn- open-telemetry ^OpenTelemetry [^SdkMeterProvider provider]
  (reify OpenTelemetry
    (getTracerProvider [_] (throw (UnsupportedOperationException.)))
    (getMeterProvider [_] provider)
    (getPropagators [_] (throw (UnsupportedOperationException.)))))

(deftest opentelemetry-gets-the-numbers-of-servers-and-clients-until-they-are-removed
  (with-meters
    (fn [^SdkMeterProvider provider collect]
      (wire/with-server [{:keys [server port]} (constantly {:body "x"}) {}]
        (let [own   (client/make-client {})
              outs  [(stats/opentelemetry-bind! (open-telemetry provider) server)
                     (stats/opentelemetry-bind! (.get provider "mine") own)]
              found (atom nil)]
          (dotimes [_ 3] @(client/get (str "http://127.0.0.1:" port) {:client own}))
          ;; Numbers may be half a second old.
          (is (wire/eventually #(= 3.0 (get-in (reset! found (collect)) ["http.server.responses" {"status" "2xx"}]))))
          (is (wire/eventually #(= [1.0 0.0 3.0 3.0 2.0 1.0]
                                   (map (fn [[metric labels]] (get-in (reset! found (collect)) [metric (or labels {})]))
                                        [["http.server.connections" {"state" "idle"}]
                                         ["http.server.active_requests"]
                                         ["http.server.request_duration_count"]
                                         ["http.client.requests"]
                                         ["http.client.requests_reused"]
                                         ["http.client.open_connections" {"state" "idle"}]])))
              (pr-str @found))
          (is (< 0.0 (get-in @found ["http.server.request_duration_sum" {}]) 60.0))
          (run! #(%) outs)
          (is (= {} (collect)))
          (client/client-stop! own))))))

(deftest servers-of-one-meter-are-told-apart-by-labels
  (with-meters
    (fn [^SdkMeterProvider provider collect]
      (wire/with-server [{one :server, port :port} (constantly {:body "x"}) {}]
        (wire/with-server [{two :server} (constantly {:body "x"}) {}]
          (let [outs (mapv #(stats/opentelemetry-bind! (.get provider "mine") %1 {:labels {:server %2}}) [one two] ["one" "two"])]
            (wire/fetch port "/")
            (is (wire/eventually #(= {{"server" "one"} 1.0, {"server" "two"} 0.0} ((collect) "http.server.requests"))))
            (is (contains? ((collect) "http.server.connections") {"state" "idle", "server" "two"}))
            (run! #(%) outs)))))))

(deftest what-is-no-meter-is-refused
  (wire/with-server [{:keys [server]} (constantly {}) {}]
    (is (thrown-with-msg? IllegalArgumentException #"opentelemetry-bind!: expected an OpenTelemetry or a Meter, not java.lang.String"
                          (stats/opentelemetry-bind! "meter" server)))
    (is (thrown? IllegalArgumentException (stats/opentelemetry-bind! nil server)))
    (is (thrown-with-msg? IllegalArgumentException #"no source of statistics"
                          (stats/opentelemetry-bind! (OpenTelemetry/noop) "server")))))
