(ns org.httpkit.stats
  "Hands the statistics of servers and clients to monitoring systems. Nothing else loads
  this namespace.

  A source is an `HttpServer` (`run-server` with `:legacy-return-value? false`, or
  `(:server (meta stop))`), or a client of `make-client` (or a delay of one).

  Prometheus   ; `prometheus`, a page in its text format
  JMX          ; `register-mbean!`
  Micrometer   ; `micrometer-bind!`
  OpenTelemetry; `opentelemetry-bind!`"
  (:require
   [clojure.string :as str]
   [org.httpkit.options :as options]
   [org.httpkit.options.server :as tables]
   [org.httpkit.stats.metrics :as metrics])
  (:import
   [clojure.lang Reflector]
   [java.lang.management ManagementFactory]
   [java.lang.ref WeakReference]
   [java.util Locale]
   [java.util.concurrent TimeUnit]
   [java.util.function Consumer ToDoubleFunction ToLongFunction]
   [javax.management Attribute AttributeList AttributeNotFoundException DynamicMBean InstanceAlreadyExistsException
    InstanceNotFoundException MBeanAttributeInfo MBeanInfo ObjectName]
   [org.httpkit.server HttpServer]))

(set! *warn-on-reflection* true)

;;;; Prometheus

(defn- number-text [n]
  (if (integer? n) (str n) (String/format Locale/ROOT "%.6f" (object-array [(double n)]))))

(defn- sample [name labels n]
  (str name
    (when (seq labels)
      (str "{" (str/join "," (for [[label value] labels] (str (clojure.core/name label) "=\"" value "\""))) "}"))
    " " (number-text n) "\n"))

(defn- bound-text [bound]
  (str/replace (str bound) #"\.0$" ""))

(defn- lines [{:keys [type name help samples buckets count sum]}]
  (str "# HELP " name " " help "\n"
    "# TYPE " name " " (clojure.core/name type) "\n"
    (if (= :histogram type)
      (str
        (str/join (for [[bound n] buckets] (sample (str name "_bucket") {:le (bound-text bound)} n)))
        (sample (str name "_bucket") {:le "+Inf"} count)
        (sample (str name "_sum") {} sum)
        (sample (str name "_count") {} count))
      (str/join (for [[labels n] samples] (sample name labels n))))))

(defn prometheus
  "The statistics of `source` as text in Prometheus's exposition format:

    {:status 200, :headers {\"Content-Type\" \"text/plain; version=0.0.4\"},
     :body (stats/prometheus server)}

  Durations of requests are a histogram since the start, rounded up by a quarter at
  most. The text of several servers cannot be put together: give each its own path."
  [source]
  (str/join (map lines (metrics/of source))))

;;;; Labels of a source

(defn- labels-of
  "The labels among the options of `what`. Throws IllegalArgumentException for wrong ones, and for those that a
  metric of `source` has itself: they would replace its own, and samples would become one."
  [what opts source]
  (let [opts   (options/as-map what opts)
        _      (options/check-all what tables/monitoring opts)
        own    (into #{} (comp (mapcat :samples) (mapcat (comp keys first)) (map name)) (metrics/of source))
        labels (:labels opts)]
    (when-let [label (some #(when (own (name %)) %) (keys labels))]
      (options/refuse! "label " (options/shown label) " of " what ": the metrics have one of this name themselves"))
    (when-let [[twice] (first (remove (fn [[_ n]] (= 1 n)) (frequencies (map name (keys labels)))))]
      (options/refuse! ":labels: two of them have the name " (options/shown twice)))
    labels))

;;;; Snapshots

(def ^:private snapshot-ms "A scrape reads many numbers: they share a snapshot of this age." 500)

(defn- snapshots
  "A function that returns what `fresh` returns, not older than that."
  [fresh]
  (let [latest (atom nil)]
    (fn []
      (let [now         (System/nanoTime)
            [at result] @latest]
        (if (and at (< (- now (long at)) (* 1000000 (long snapshot-ms))))
          result
          (let [result (fresh)]
            (reset! latest [now result])
            result))))))

(defn- by-name [metrics]
  (into {} (map (juxt :name identity)) metrics))

;;;; JMX

(defn- attributes
  "{attribute-name number}, such as http_server_connections.idle."
  [source]
  (into (sorted-map)
        (mapcat (fn [{:keys [type name samples count sum]}]
                  (if (= :histogram type)
                    [[(str name ".count") count] [(str name ".sum") sum]]
                    (for [[labels n] samples] [(str/join "." (cons name (vals labels))) n]))))
        (metrics/of source)))

(defn- weakly
  "A function that returns `source`, or nil once it has been collected: what monitors it must not keep it."
  [source]
  (let [source (WeakReference. source)]
    #(.get source)))

(defn- mbean
  "`gone!` is called for each look once the source has been collected."
  [source-of gone!]
  (let [now   (snapshots #(some-> (source-of) attributes))
        all   #(if (source-of)
                 (now)
                 (do (gone!) {}))
        value (fn [name]
                (or (get (all) name) (throw (AttributeNotFoundException. (str name)))))]
    (reify DynamicMBean
      (getAttribute [_ name] (value name))
      (getAttributes [_ names]
        (let [found (AttributeList.), all (all)]
          (doseq [name names :when (contains? all name)]
            (.add found (Attribute. name (all name))))
          found))
      (setAttribute [_ attribute]
        (throw (AttributeNotFoundException. (str (.getName attribute) " cannot be set"))))
      (setAttributes [_ _] (AttributeList.))
      (invoke [_ action _ _]
        (throw (UnsupportedOperationException. (str action))))
      (getMBeanInfo [_]
        (MBeanInfo. "org.httpkit.stats" "Statistics of http-kit"
          (into-array MBeanAttributeInfo
            (for [[name n] (all)]
              (MBeanAttributeInfo. name (if (integer? n) "long" "double") name true false false)))
          nil nil nil)))))

(defn- object-name ^ObjectName [source]
  (ObjectName.
    (if (instance? HttpServer source)
      (str "org.httpkit:type=Server,port=" (.getPort ^HttpServer source)
        ",id=" (System/identityHashCode source))
      (str "org.httpkit:type=Client,id=" (System/identityHashCode source)))))

(defn register-mbean!
  "Registers the statistics of `source` with the platform's MBean server, as
  `org.httpkit:type=Server,port=_,id=_` or `org.httpkit:type=Client,id=_`:

    (def unregister! (stats/register-mbean! server))

  Values are up to 500 ms old. Returns a function that takes it out again. The bean does
  not keep the source from being collected; after that, the next access to the bean removes
  it. Throws IllegalStateException if the source is registered already."
  [source]
  (let [source  (force source)
        _       (metrics/of source)
        name    (object-name source)
        beans   (ManagementFactory/getPlatformMBeanServer)
        unregister! (fn []
                      (try (.unregisterMBean beans name)
                           (catch InstanceNotFoundException _))
                      nil)]
    (try
      (.registerMBean beans (mbean (weakly source) unregister!) name)
      (catch InstanceAlreadyExistsException e
        (throw (IllegalStateException.
                 (str "register-mbean!: registered already, as " name
                   ": call the function that its register-mbean! returned") e))))
    unregister!))

;;;; Micrometer, which is looked up when it is asked for

(defn- micrometer-class ^Class [class-name]
  (try (Class/forName (str "io.micrometer.core.instrument." class-name))
       (catch ClassNotFoundException e
         (throw (IllegalStateException. "micrometer-bind!: Micrometer is not on the class path" e)))))

(defn- check-registry [registry]
  (when-not (instance? (micrometer-class "MeterRegistry") registry)
    (options/refuse! "micrometer-bind!: expected a MeterRegistry, not " (metrics/class-of registry))))

(defn- meter-builder [class-name & args]
  (Reflector/invokeStaticMethod (micrometer-class class-name) "builder" (object-array args)))

(defn- register! [builder registry help labels]
  (let [call (fn [target method & args] (Reflector/invokeInstanceMethod target method (object-array args)))]
    (-> builder
      (call "description" help)
      (call "tags" (into-array String (mapcat (fn [[label value]] [(name label) value]) labels)))
      (call "register" registry))))

(defn- meter-name
  "http_server_requests_total -> http.server.requests; a registry adds what its system wants."
  [metric-name]
  (-> metric-name
    (str/replace #"_(total|seconds)$" "")
    (str/replace "_" ".")))

(defn- bind-samples! [add! now source given {:keys [type name help samples]}]
  (doseq [[labels _] samples]
    (let [value (reify ToDoubleFunction
                  (applyAsDouble [_ _]
                    (double (some (fn [[of n]] (when (= of labels) n)) (:samples (get (now) name))))))]
      (-> (meter-builder (if (= :counter type) "FunctionCounter" "Gauge") (meter-name name) source value)
        (add! help (merge labels given))))))

(defn- bind-duration! [add! now source given {:keys [name help]}]
  (-> (meter-builder "FunctionTimer" (meter-name name) source
        (reify ToLongFunction (applyAsLong [_ _] (long (:count (get (now) name)))))
        (reify ToDoubleFunction (applyAsDouble [_ _] (double (:sum (get (now) name)))))
        TimeUnit/SECONDS)
    (add! help given)))

(defn- bind!
  "Makes the meters of `metric`; `add!` registers a builder's, with its description and tags."
  [add! now source given metric]
  (if (= :histogram (:type metric))
    (bind-duration! add! now source given metric)
    (bind-samples! add! now source given metric)))

(defn- meter-id [meter]
  (Reflector/invokeInstanceMethod meter "getId" (object-array 0)))

(defn- remove-meters! [registry meters]
  (doseq [meter meters]
    (Reflector/invokeInstanceMethod registry "remove" (object-array [meter]))))

(defn- bind-all!
  "Returns the meters; adds all or none. For an id that it has, a registry returns the meter that it has, which is of
  another source."
  [registry now source given]
  (let [before (into #{} (map meter-id) (Reflector/invokeInstanceMethod registry "getMeters" (object-array 0)))
        taken? #(before (meter-id %))
        meters (volatile! [])
        add!   (fn [builder help labels] (vswap! meters conj (register! builder registry help labels)))]
    (try
      (run! #(bind! add! now source given %) (vals (now)))
      (when-let [taken (first (filter taken? @meters))]
        (throw (IllegalStateException.
                 (str "micrometer-bind!: the registry has such meters already, as " (meter-id taken)
                   ": call the function that its micrometer-bind! returned, or give each source :labels"))))
      (catch Throwable t
        (remove-meters! registry (remove taken? @meters))
        (throw t)))
    @meters))

(defn micrometer-bind!
  "Registers the statistics of `source` as meters of `registry`, a Micrometer
  `MeterRegistry`: gauges, function counters, and a function timer of requests
  (without percentiles). Their names are those of `prometheus` with dots, without
  `_total` and `_seconds`; values are up to 500 ms old.

    (def unbind! (stats/micrometer-bind! registry server))

  Options:
    :labels ; Further tags of all meters, {name String}, to tell several servers, or
            ; several clients, of one registry apart; they need the same names, which are
            ; none that the meters have themselves, such as `status`

  Returns a function that takes them out again; call it after a stop. The registry
  refers to the source weakly, so keep it. Throws IllegalStateException if Micrometer
  is not on the class path, or the registry has meters of the same names and tags.

    (stats/micrometer-bind! registry server {:labels {\"server\" \"admin\"}})"
  {:arglists '([registry source] [registry source {:keys [labels] :as opts}])}
  ([registry source] (micrometer-bind! registry source nil))
  ([registry source opts]
   (let [source (force source)
         given  (labels-of "micrometer-bind!" opts source)
         _      (check-registry registry)
         alive  (weakly source)
         now    (snapshots #(some-> (alive) metrics/of by-name))
         meters (bind-all! registry now source given)]
     (fn unbind! []
       (remove-meters! registry meters)
       nil))))

;;;; OpenTelemetry, which is looked up when it is asked for

(defn- otel-class ^Class [class-name]
  (try (Class/forName (str "io.opentelemetry.api." class-name))
       (catch ClassNotFoundException e
         (throw (IllegalStateException. "opentelemetry-bind!: opentelemetry-api is not on the class path" e)))))

(defn- otel-call
  "Calls a method of an interface, which the classes behind it may not show."
  [interface target method & args]
  (let [types (map #(condp instance? % Consumer Consumer, Double Double/TYPE, String String, (otel-class "common.Attributes")) args)]
    (.invoke (.getMethod (otel-class interface) method (into-array Class types)) target (object-array args))))

(defn- otel-attributes [labels]
  (let [builder (.invoke (.getMethod (otel-class "common.Attributes") "builder" (make-array Class 0)) nil (object-array 0))
        put     (.getMethod (otel-class "common.AttributesBuilder") "put" (into-array Class [String String]))]
    (doseq [[label value] labels]
      (.invoke put builder (object-array [(name label) value])))
    (otel-call "common.AttributesBuilder" builder "build")))

(defn- otel-meter [target]
  (let [target (if (instance? (otel-class "OpenTelemetry") target)
                 (otel-call "OpenTelemetry" target "getMeter" "org.httpkit")
                 target)]
    (when-not (instance? (otel-class "metrics.Meter") target)
      (options/refuse! "opentelemetry-bind!: expected an OpenTelemetry or a Meter, not " (metrics/class-of target)))
    target))

(defn- otel-name
  "http_server_active_requests -> http.server.active_requests"
  [metric-name]
  (-> metric-name
    (str/replace #"_total$" "")
    (str/replace #"^http_(server|client)_" "http.$1.")))

(defn- otel-samples
  "A histogram that is complete cannot be handed over: its count and sum can."
  [{:keys [type name help samples count sum] :as metric}]
  (if (= :histogram type)
    (let [name (str/replace name "_seconds" "")]
      [{:type :counter :name (str name "_count") :help help :samples [[{} count]]}
       {:type :counter :name (str name "_sum") :help help :samples [[{} sum]] :unit "s"}])
    [metric]))

(defn- otel-instrument!
  "Registers the instrument; returns what closes it."
  [meter now given {:keys [type name help unit samples]}]
  (let [attributes (into {} (map (fn [[labels _]] [labels (otel-attributes (merge labels given))])) samples)
        observe    (reify Consumer
                     (accept [_ measurement]
                       (doseq [[labels n] (:samples (get (now) name))]
                         (otel-call "metrics.ObservableDoubleMeasurement" measurement "record"
                           (double n) (get attributes labels)))))
        [interface builder]
        (if (= :counter type)
          ["metrics.DoubleCounterBuilder"
           (otel-call "metrics.LongCounterBuilder"
             (otel-call "metrics.Meter" meter "counterBuilder" (otel-name name)) "ofDoubles")]
          ["metrics.DoubleGaugeBuilder" (otel-call "metrics.Meter" meter "gaugeBuilder" (otel-name name))])]
    (otel-call interface builder "setDescription" help)
    (when unit (otel-call interface builder "setUnit" unit))
    (otel-call interface builder "buildWithCallback" observe)))

(defn opentelemetry-bind!
  "Registers the statistics of `source` as instruments of `meter`, a `Meter` of
  opentelemetry-api, or an `OpenTelemetry`, of which it takes the meter `org.httpkit`:
  gauges and counters that are asked when they are collected. Their names are those of
  `prometheus` with dots, such as `http.server.active_requests`; durations of requests
  are two counters, `http.server.request_duration_count` and `_sum`.

    (def unbind! (stats/opentelemetry-bind! (GlobalOpenTelemetry/get) server))

  Options:
    :labels ; Further attributes of all numbers, {name String}, to tell several servers,
            ; or several clients, apart; else only one of them is collected. Not names
            ; that the instruments have themselves, such as `status`

  Returns a function that takes them out again; call it after a stop. The meter refers
  to the source weakly, so keep it. Throws IllegalStateException if opentelemetry-api is
  not on the class path."
  {:arglists '([meter source] [meter source {:keys [labels] :as opts}])}
  ([meter source] (opentelemetry-bind! meter source nil))
  ([meter source opts]
   (let [source  (force source)
         given   (labels-of "opentelemetry-bind!" opts source)
         meter   (otel-meter meter)
         alive   (weakly source)
         now     (snapshots #(some->> (alive) metrics/of (mapcat otel-samples) by-name))
         opened  (mapv #(otel-instrument! meter now given %) (vals (now)))]
     (fn unbind! []
       (run! #(.close ^java.lang.AutoCloseable %) opened)))))
