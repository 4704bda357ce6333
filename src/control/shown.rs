//! What is shown of services and drains: this process's, and while the one before it still finishes, both together.

use super::handle::{Handle, HandleError, Request, Totals};
use super::view::{DrainsView, EndpointView, ServiceView, State};
use crate::endpoint::ServiceName;

impl Handle {
    /// Every service.
    ///
    /// # Errors
    /// [`HandleError::Leaving`].
    pub async fn services(&self) -> Result<Vec<ServiceView>, HandleError> {
        let Some(elder) = &self.elder else {
            return self.ask(Request::Services).await;
        };
        let (own, lives) = tokio::join!(self.ask(Request::Services), elder.lives());
        let mut services = own?;
        add_lives(&mut services, lives);
        Ok(services)
    }

    /// One service.
    ///
    /// # Errors
    /// [`HandleError::NoService`], [`HandleError::Leaving`].
    pub async fn service(&self, name: &str) -> Result<ServiceView, HandleError> {
        let own = self.ask(|answer| Request::Service(name.into(), answer));
        let mut service = own
            .await?
            .ok_or_else(|| HandleError::NoService(name.into()))?;
        if let Some(elder) = &self.elder {
            add_lives(std::slice::from_mut(&mut service), elder.lives().await);
        }
        Ok(service)
    }

    /// The drains under way and those that are over. One that both processes carry out stands there for each.
    ///
    /// # Errors
    /// [`HandleError::Leaving`].
    pub async fn drains(&self) -> Result<DrainsView, HandleError> {
        let Some(elder) = &self.elder else {
            return self.ask(Request::Drains).await;
        };
        // The running ones first: one that ends in between is told twice rather than not at all.
        let running = elder.running().await;
        let mut drains = self.ask(Request::Drains).await?;
        drains.running.extend(running);
        drains.running.sort_by_key(|drain| drain.report.since);
        Ok(drains)
    }

    /// Every service in numbers.
    ///
    /// # Errors
    /// [`HandleError::Leaving`].
    pub async fn totals(&self) -> Result<Vec<Totals>, HandleError> {
        let Some(elder) = &self.elder else {
            return self.ask(Request::Totals).await;
        };
        let (own, lives) = tokio::join!(self.ask(Request::Totals), elder.lives());
        let mut totals = own?;
        for (name, life) in lives {
            let service = totals.iter_mut().find(|service| service.service == name);
            if let Some(service) = service {
                service.in_flight += life.in_flight;
            }
        }
        Ok(totals)
    }
}

/// What both have of a service's endpoints: work and connections are added up. What only the other one still has stands at the
/// end, on its way out.
fn add_lives(services: &mut [ServiceView], lives: Vec<(ServiceName, EndpointView)>) {
    for (name, life) in lives {
        let service = services.iter_mut().find(|service| service.name == name);
        let Some(service) = service else { continue };
        let mut endpoints = service.endpoints.iter_mut();
        match endpoints.find(|endpoint| endpoint.key == life.key) {
            Some(newest) => {
                newest.in_flight += life.in_flight;
                newest.connections += life.connections;
                if newest.state == State::Drained && life.in_flight > 0 {
                    newest.state = State::Draining;
                }
            }
            None if life.in_flight > 0 => service.endpoints.push(life),
            None => {}
        }
    }
}
