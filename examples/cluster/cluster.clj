(ns cluster
  "Chat rooms over several processes: what is said in one reaches the room's members in all of them, through Redis, which
  also knows who is where. README.md beside this file shows how to run three behind HAProxy."
  (:require [clojure.string     :as str]
            [org.httpkit.server :as server]
            [org.httpkit.topics :as topics])
  (:import (java.io Closeable)
           (java.util UUID)
           (java.util.concurrent ConcurrentHashMap Executors ScheduledExecutorService TimeUnit)
           (redis.clients.jedis BinaryJedisPubSub RedisClient)
           (redis.clients.jedis.exceptions JedisException)))

;; Subscriptions. One connection to Redis hears all topics of this process. If it breaks, a new one is made; what is
;; published in between is lost for this process.

(def ^:private anchor "A channel to which nothing is published: Redis needs one from the start." (.getBytes "cluster/anchor"))

(defn- hear
  "Passes on what Redis publishes until the connection breaks. `state` holds what is wanted (topic -> function and
  promise) and, while there is a connection, that connection."
  [^RedisClient redis state]
  (let [text   (fn [^bytes topic] (String. topic "UTF-8"))
        pubsub (proxy [BinaryJedisPubSub] []
                 (onSubscribe [topic _]
                   (if (java.util.Arrays/equals ^bytes topic ^bytes anchor)
                     (locking state
                       (swap! state assoc :connection this)
                       (doseq [wanted (keys (:wanted @state))]
                         (.subscribe ^BinaryJedisPubSub this (into-array [(.getBytes ^String wanted "UTF-8")]))))
                     (some-> (get-in @state [:wanted (text topic) :confirmed]) (deliver true))))
                 (onMessage [topic bytes]
                   (when-let [on-message (get-in @state [:wanted (text topic) :on-message])]
                     (on-message bytes))))]
    (try
      (.subscribe redis ^BinaryJedisPubSub pubsub (into-array [anchor]))
      (finally
        (locking state (swap! state dissoc :connection))))))

(defn- start-hearing [redis state]
  (doto (Thread. (fn []
                   (while (:running @state)
                     (try
                       (hear redis state)
                       (catch JedisException e
                         (when (:running @state)
                           (println "Redis:" (ex-message e) "- trying again")
                           (Thread/sleep 200))))))
          "cluster-redis")
    (.setDaemon true)
    (.start)))

(defn- tell
  "Subscribes or unsubscribes on the connection. Without one there is nothing to do: the next one subscribes anew."
  [state call topic]
  (when-let [connection (:connection @state)]
    (try
      (call connection (into-array [(.getBytes ^String topic "UTF-8")]))
      (catch JedisException _))))

(defn- subscribe
  "Calls `on-message` with what is published on a topic. Returns once Redis has confirmed that, with a function that ends
  it."
  [state topic on-message]
  (let [confirmed (promise)]
    (locking state
      (swap! state assoc-in [:wanted topic] {:on-message on-message, :confirmed confirmed})
      (tell state #(.subscribe ^BinaryJedisPubSub %1 %2) topic))
    (let [end (fn []
                (locking state
                  (swap! state update :wanted dissoc topic)
                  (tell state #(.unsubscribe ^BinaryJedisPubSub %1 %2) topic)))]
      (when-not (deref confirmed 5000 false)
        (end)
        (throw (ex-info (str "Redis has not confirmed the subscription to " topic " within 5 s") {:topic topic})))
      end)))

;; Presence. A room is a sorted set of its members, with the time at which each is believed to be gone: a process that
;; is killed cannot say that its members have left.

(def ^:private presence-ms 10000)

(defn- presence ^String [room] (str "presence:" room))

(defn- stay! [^RedisClient redis room member]
  (.zadd redis (presence room) (double (+ (System/currentTimeMillis) presence-ms)) ^String member))

(defn- leave! [^RedisClient redis room member]
  (.zrem redis (presence room) (into-array String [member])))

(defn- present [^RedisClient redis room]
  (.zremrangeByScore redis (presence room) 0.0 (double (System/currentTimeMillis)))
  (sort (map #(first (str/split % #"#")) (.zrange redis (presence room) 0 -1))))

;; Rooms

(defn- user [request]
  (or (second (re-find #"(?:^|&)user=(\w+)" (str (:query-string request)))) "guest"))

(defn- join [{:keys [redis rooms node ^ConcurrentHashMap here]} {room :uri :as request}]
  (let [name   (user request)
        member (str name "#" (UUID/randomUUID))
        forget (fn []
                 (.remove here member)
                 (leave! redis room member))]
    (server/as-channel request
      {:on-open       (fn [channel]
                        (topics/subscribe! channel room)
                        (.put here member room)
                        (stay! redis room member)
                        ;; Redis can be slow: the channel may be closed by now, and on-close may have run.
                        (if (server/open? channel)
                          (do (server/send! channel (str "node " node))
                              (topics/publish! @rooms room (str name " is here")))
                          (forget)))
       :on-receive    (fn [_ message]
                        (topics/publish! @rooms room (str name ": " message)))
       :on-close      (fn [_ _]
                        (forget)
                        (topics/publish! @rooms room (str name " has left")))
       :ping-interval 20000})))

(defn- app [{:keys [redis node] :as system} request]
  (cond
    (= "/health" (:uri request))                       {:status 200, :body node}
    (not (str/starts-with? (:uri request) "/rooms/"))  {:status 404, :body "There are only /rooms/NAME."}
    (:websocket? request)                              (join system request)
    :else                                              {:status  200
                                                        :headers {"Content-Type" "text/plain"}
                                                        :body    (str/join "\n" (present redis (:uri request)))}))

(defn start
  "Starts a node, named `:node`, which uses Redis at `:redis` (default redis://127.0.0.1:6379); other options are those of
  `run-server`. Returns a function that stops it."
  [{:keys [node redis] :or {node "node", redis "redis://127.0.0.1:6379"} :as options}]
  (let [redis   (RedisClient/create ^String redis)
        state   (atom {:running true, :wanted {}})
        rooms   (promise)
        system  {:redis redis, :rooms rooms, :node node, :here (ConcurrentHashMap.)}
        stop!   (server/run-server #(app system %) (dissoc options :node :redis))
        _       (start-hearing redis state)
        bridge  (topics/bridge (:server (meta stop!))
                  {:publish   (fn [topic bytes] (.publish redis (.getBytes ^String topic "UTF-8") ^bytes bytes))
                   :subscribe (fn [topic on-message] (subscribe state topic on-message))})
        ^ScheduledExecutorService timer (Executors/newSingleThreadScheduledExecutor)]
    (deliver rooms bridge)
    (.scheduleAtFixedRate timer
      (fn []
        (try
          (run! (fn [[member room]] (stay! redis room member)) (:here system))
          (catch JedisException e (println "Redis:" (ex-message e)))))
      0 (quot presence-ms 3) TimeUnit/MILLISECONDS)
    (with-meta
      (fn [& args]
        (let [stopped (apply stop! args)]
          (.shutdownNow timer)
          (swap! state assoc :running false)
          (.close ^Closeable bridge)
          (.close redis)
          stopped))
      (meta stop!))))

(defn -main [node port redis]
  (start {:node node, :port (Long/parseLong port), :ip "127.0.0.1", :redis redis
          ;; On SIGTERM, requests end first; WebSockets are closed with 1001, so that their clients connect elsewhere.
          :stop-on-shutdown? true})
  (println node "serves on port" port)
  @(promise))
